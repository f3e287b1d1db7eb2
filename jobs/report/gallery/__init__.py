"""The gallery of a report: thousands of pictures to sort, filter, group, select and export in the page itself."""
