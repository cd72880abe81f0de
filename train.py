"""`python train.py +strategy=hifi task=rte`: tune a backbone on a task and leave a record of the run."""

from peftlab.cli import main

if __name__ == "__main__":
    main()
