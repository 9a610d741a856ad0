"""TensorBoard and CSV, written so that an interrupted run goes on in them."""
