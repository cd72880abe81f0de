"""HiFi's science as pure tensor functions: outputs, richness, correlation, PageRank, selection."""
