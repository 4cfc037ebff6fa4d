"""Turn a sweep file into cells."""
