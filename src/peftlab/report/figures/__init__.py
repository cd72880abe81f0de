"""The figures of the page: each a function from the study to Plotly figures, one for each setting it has."""
