"""The report: one HTML file of the stored records, self-contained, that opens without a network or a server.

`write.write_page` writes it. jinja2 is imported once a page is made.
"""
