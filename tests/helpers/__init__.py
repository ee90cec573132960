"""What tests of several rooms share; what one room needs lies beside it."""
