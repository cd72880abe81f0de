"""The files that the servers of GLUE and SuperGLUE read: written from runs, and checked wherever they come from."""
