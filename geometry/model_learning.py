"""Learn the default morphable model: `python -m geometry.model_learning`, short for `geometry.template.model_learning`."""

from geometry.template.model_learning import main

if __name__ == "__main__":
    main()
