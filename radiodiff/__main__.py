"""``python -m radiodiff`` and ``accelerate launch -m radiodiff``: the command ``radiodiff``."""

from radiodiff.commands.main import main

if __name__ == "__main__":
    main()
