"""File access: local and object-store paths, atomic writes, Parquet files and Delta tables."""
