"""The linear teacher-student model with fast and slow features: closed forms, the trace formula,
simulation.

The functions are in `analysis.theory.teacher_student`. Needs numpy only (matplotlib for drawing);
imports no pandas, so that a closed-form figure is drawn in a second.
"""
