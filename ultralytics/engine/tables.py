"""What was found in an image as plain data, JSON, CSV, XML and a table of pandas."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

from ultralytics.engine.predictions import Movable
from ultralytics.utils.errors import UserError


class Tabular(Movable):
    """Something with a `summary`."""

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """Return a plain mapping for each object."""
        raise NotImplementedError

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """Return `summary` as JSON."""
        return json.dumps(self.summary(normalize, decimals), indent=2, ensure_ascii=False)

    tojson = to_json  # the reference has both names

    def to_df(self, normalize: bool = False, decimals: int = 5) -> Any:
        """Return `summary` as a pandas DataFrame.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas  # optional: of this method alone
        except ImportError:
            raise UserError(
                "to_df needs pandas", hint="pip install pandas; summary() and to_csv() do without"
            ) from None
        return pandas.DataFrame(self.summary(normalize, decimals))

    def to_csv(self, normalize: bool = False, decimals: int = 5, *args: Any, **kwargs: Any) -> Any:
        """Return `summary` as CSV with numbered rows. Further arguments, such as a path, are those of pandas'
        DataFrame.to_csv."""
        if args or kwargs:
            return self.to_df(normalize, decimals).to_csv(*args, **kwargs)
        rows = self.summary(normalize, decimals)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["", *(rows[0] if rows else ())])
        for i, row in enumerate(rows):
            table.writerow([i, *row.values()])
        return text.getvalue()

    def to_xml(self, normalize: bool = False, decimals: int = 5, *args: Any, **kwargs: Any) -> Any:
        """Return `summary` as XML, a `row` per detection. Further arguments are those of pandas' DataFrame.to_xml."""
        if args or kwargs:
            return self.to_df(normalize, decimals).to_xml(*args, **kwargs)
        rows = self.summary(normalize, decimals)
        data = ElementTree.Element("data" if rows else "root")
        for i, row in enumerate(rows):
            element = ElementTree.SubElement(data, "row")
            for key, value in {"index": i, **row}.items():
                ElementTree.SubElement(element, key).text = str(value)
        ElementTree.indent(data)
        body = ElementTree.tostring(data, encoding="unicode", short_empty_elements=False)
        return f'<?xml version="1.0" encoding="utf-8"?>\n{body}'
