"""For authors of methods: conformance checks, a template, tiny pipelines."""
