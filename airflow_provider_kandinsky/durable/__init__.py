"""Never pay twice: what a new try does about what an earlier one may have submitted."""
