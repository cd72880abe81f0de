"""`python train.py +strategy=hifi task=rte`: tune a backbone on a task and leave a record of the run."""

from peftlab.console import train

if __name__ == "__main__":
    train()
