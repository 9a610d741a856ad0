"""The members of a stack: ordinary runs in all but that one Trainer trains their networks together."""
