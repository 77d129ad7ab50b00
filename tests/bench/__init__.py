"""The budgets, measured against a real API server and Job controller with pods played."""
