"""What fusion gained, as a page: each step measured, models compared, images on which it helped or hurt."""
