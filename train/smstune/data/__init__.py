"""Tables in, a prepared folder out.

Order: readers, absolute, public, manifest, copies, rejects, label_accounts, collect, pii_scan,
assign_campaigns, splits, sample, prepared, unlabelled, report, prepare, first_label_file.
"""
