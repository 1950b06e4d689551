"""Where datasets are fetched from: Kaggle, a mirror folder, archives."""
