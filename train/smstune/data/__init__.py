"""Tables in, a prepared folder out.

Order: readers, public, manifest, copies, collect, pii_scan, assign_campaigns, splits, sample,
prepared, report, prepare.
"""
