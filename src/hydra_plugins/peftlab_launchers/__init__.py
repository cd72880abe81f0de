"""The laboratory's launchers as Hydra finds them: it takes plugins from packages below `hydra_plugins` alone."""

from peftlab.launchers import ray, slurm


class RayLauncher(ray.RayLauncher):
    """`hydra/launcher=ray`."""


class SlurmLauncher(slurm.SlurmLauncher):
    """`hydra/launcher=slurm`."""
