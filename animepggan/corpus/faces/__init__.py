"""Faces in pictures: find them (`detector`), align them (`align`), cut them out (`crop`)."""
