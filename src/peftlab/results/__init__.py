"""What runs leave behind: records, the tables and pictures made from them. Reads records, never models."""
