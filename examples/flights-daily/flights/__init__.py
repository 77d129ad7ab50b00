"""One day of real flights out of New York: land, conform, audit, publish, load, report.

Each step is a command of its own (`python3 -m flights.land --day 2013-02-09`), so that a pipeline
can run it in a container of its own. What the steps share lies in the lake, a folder.
"""
