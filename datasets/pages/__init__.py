"""Static, self-contained HTML pages: nothing in them is fetched from anywhere, and they open from disk."""
