"""The methods on any model of transformers, in a program of one's own: no Hydra, no Lightning, no task of ours."""
