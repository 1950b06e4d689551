"""What a record is: catalog entries, labels, columns, frames, n-grams, names."""
