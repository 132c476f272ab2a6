"""Start a recipe in processes of its own: decided once, launched, watched, and started again where one dies."""
