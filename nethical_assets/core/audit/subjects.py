"""By which names leaves speak of what the state of the log keeps: the stages that make it are named so.

What belongs here: names that a verifier has to know who does not know the graph. What does not: any other stage's.
"""

MODELS = "models"
MODEL_CARDS = "model_cards"
DRIFT_REPORTS = "drift_reports"
