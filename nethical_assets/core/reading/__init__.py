"""From files to rows: text streams, row streams, readers, sampling, tables."""
