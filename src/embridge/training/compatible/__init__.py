"""Compatible training with labels: a new model beside an old one's stored vectors."""
