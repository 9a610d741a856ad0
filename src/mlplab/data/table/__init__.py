"""Reads any table from CSV or Parquet, infers what its columns hold, and makes tensors of them."""
