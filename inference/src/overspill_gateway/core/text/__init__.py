"""JSON and long bytes as text: read with one strictness, edited without being copied."""
