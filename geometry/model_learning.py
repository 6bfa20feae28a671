"""Learn the default morphable model: `python -m geometry.model_learning --source FILE --output FILE` (`geometry.learning`)."""

import sys
from collections.abc import Sequence

# Nothing that takes time to import stands here: --help and a typing error answer at once.
from geometry.settings.commands import add_settings, command_parser, exit_code


def main(argv: Sequence[str] | None = None, program: str = "python -m geometry.model_learning") -> int:
    """0 done, 2 a wrong command, configuration or source."""
    parser = command_parser(program, "Learns the default morphable model, measures it and writes its card.")
    add_settings(parser, "the .npz to write; its card goes beside it (.md)")
    parser.add_argument("--source", required=True, metavar="FILE", help="the packed ICT Face Model Light")
    parser.add_argument("--pictures", metavar="FOLDER", help="draw the card's pictures there, one .webp each")
    arguments = parser.parse_args(argv)

    def run() -> int:
        from geometry.learning import building

        building.run(arguments)
        return 0

    return exit_code(program, run)


if __name__ == "__main__":
    sys.exit(main())
