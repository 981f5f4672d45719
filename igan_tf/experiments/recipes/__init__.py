"""Recipes: which data, networks, model and batches a config stands for."""

from __future__ import annotations

from igan_tf.experiments.configs import RunConfig
from igan_tf.experiments.recipes.imagenet import ImageNetRecipe
from igan_tf.experiments.recipes.recipe import Recipe
from igan_tf.experiments.recipes.semi_supervised import SemiSupervisedRecipe

RECIPES: dict[str, type[Recipe]] = {recipe.Config.recipe: recipe for recipe in (SemiSupervisedRecipe, ImageNetRecipe)}

__all__ = ["RECIPES", "ImageNetRecipe", "Recipe", "SemiSupervisedRecipe", "recipe_of"]


def recipe_of(config: RunConfig) -> Recipe:
    """The recipe of a config."""
    return RECIPES[config.recipe](config)
