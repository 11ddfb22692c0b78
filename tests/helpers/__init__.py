"""What several test files use; no test file imports from another."""
