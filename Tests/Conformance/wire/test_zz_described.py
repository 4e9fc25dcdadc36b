"""Last by its name: the run compared what the published description has."""
import unittest

from world import DESCRIPTION


class Described(unittest.TestCase):
    @unittest.skipIf(DESCRIPTION is None, "the published description is not there")
    def test_every_described_call_was_compared(self):
        described = {
            (method.upper(), template) for template, item in DESCRIPTION.document["paths"].items()
            for method in ("get", "post", "delete") if method in item}
        self.assertEqual(sorted(described - set(DESCRIPTION.compared)), [])
        print(f"{sum(DESCRIPTION.compared.values())} replies of {len(described)} calls are as described", flush=True)
