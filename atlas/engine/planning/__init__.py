"""From a pipeline to what is to be done, before anything is.

what was said -> Pipeline (recorded) -> PreparedBuild: model, images, plans (prepared) -> BuildPlan, priced (build_plan)
"""
