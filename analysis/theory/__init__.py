"""The linear teacher-student model with fast and slow features: closed forms, the trace formula,
simulation.

The functions are in `analysis.theory.teacher_student`. Needs numpy only (matplotlib for drawing);
imports no pandas, which would take as long as a closed-form figure.
"""
