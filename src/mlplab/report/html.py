"""Parts of a page. Text is always text: whatever a name holds, it never becomes a part of the page's code."""

from typing import Any
from xml.etree import ElementTree

from mlplab.errors import printable

Element = ElementTree.Element
Child = Element | str | None


def part(tag: str, *children: Child, **attributes: Any) -> Element:
    """An element; a child of None is left out, and so is an attribute of None or False.

    In names of attributes "_" stands for "-", and one at the end is dropped (`class_`).
    """
    element = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            text = "" if value is True else printable(value)
            element.set(name.rstrip("_").replace("_", "-"), text)
    last: Element | None = None
    for child in children:
        if isinstance(child, str):
            text = "\n".join(printable(line) for line in child.split("\n"))
            if last is None:
                element.text = (element.text or "") + text
            else:
                last.tail = (last.tail or "") + text
        elif child is not None:
            element.append(child)
            last = child
    return element


def as_html(element: Element) -> str:
    """The element as HTML. `script` and `style` hold text as it is: only the project's own files belong there."""
    return ElementTree.tostring(element, encoding="unicode", method="html")
