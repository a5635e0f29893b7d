"""The benchmark behind `./holdfast bench`: real servers and durable commits, a load generator of its own, an audit in SQL.

    machine.py    what this machine is and what it spends: /proc
    stage.py      a private PostgreSQL, a database per scenario, servers under test
    wrk.py, claims.lua    the load generator for plain claims, where wrk is to be had
    load.py, crowds.py, viewers.py    our own, for everything else; processes of their own
    floor.py      the same server without a database: what there is to reach
    scenarios.py, heavy.py    what is measured
    run.py        warm-up, repeats in turn, meters, audit
    audit.py, audit.sql    what was acknowledged is there, and nothing was sold twice
    figures.py    medians, spreads, ratios
    targets.py    what is to be reached, and whether it was
    report.py, plot.py, page.py    tables, picture, docs page

A number here is a median over repeats with its least and its greatest value, never a single run.
"""
