"""By which names leaves and alerts speak of what is kept: the stages that make it are named so.

What belongs here: names that somebody has to know who does not know the graph, a verifier or the rules of alerts. What
does not: any other stage's.
"""

RAW = "raw"
DATASETS = "datasets"
MODELS = "models"
MODEL_CARDS = "model_cards"
DRIFT_REPORTS = "drift_reports"
