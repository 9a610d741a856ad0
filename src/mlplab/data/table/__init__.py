"""Anybody's table: read from CSV or Parquet, understood column by column, and made into tensors."""
