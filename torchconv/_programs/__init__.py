"""Programs: many layers of an optimised model in one call of an operator.

Between two layers of a small network Python takes as long as the kernels. ``link`` looks at the
graph of a module once and writes a *recipe* (recipe.py): runs of consecutive layers, *segments*,
and the calls between them. Its forward becomes a *shortcut* (shortcut.py), which makes a *program*
(program.py) of the recipe as soon as two calls in a row are alike. The program runs while nothing
could tell it from the modules (call.py, watch.py); else these run, one by one.
"""

from collections.abc import Iterable

from torch import nn

from torchconv._operators import load
from torchconv._programs.cut import recipe_for
from torchconv._programs.shortcut import Shortcut, shortcut_of


def link(modules: Iterable[nn.Module], leaves: set[type]) -> None:
    """Gives a shortcut to each module for which it is worth it; ``leaves`` as for ``trace``."""
    if load.problem is not None:
        return
    recipes = [(module, recipe_for(module, leaves)) for module in modules]
    for module, recipe in recipes:  # after all of them are traced
        if recipe is not None:
            vars(module)["forward"] = Shortcut(module, recipe)


def unlink(model: nn.Module) -> None:
    """Takes the shortcuts away from a model and all inside."""
    for module in model.modules():
        if shortcut_of(module) is not None:
            del vars(module)["forward"]
