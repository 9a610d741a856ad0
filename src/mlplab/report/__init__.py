"""The report of a sweep: findings, leaderboard, charts and page, from its run directories alone."""
