"""Figures of scores and their intervals over patients: draws of patients, AUC, rates, DeLong, calibration."""
