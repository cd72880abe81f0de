"""`python -m peftlab COMMAND`: the same as the console command `peftlab`."""

from peftlab.console import main

if __name__ == "__main__":
    main()
