"""What FastAPI itself costs: the request and response models of /score, and an answer that is
always the same.
"""

from __future__ import annotations

from fastapi import FastAPI

from markbook.contract import (
    ExtractedFrom,
    RequestUsage,
    Scored,
    ScoreRequest,
    ScoreResponse,
    Source,
)

CRITERIA = {"correctness": 0.8, "code_quality": 0.7, "efficiency": 0.6, "documentation": 0.7}
KEY = "STUDENT:1f0c3a5b7d9e:9ab2c4d6e8f0:python"

app = FastAPI()


@app.post("/score")
async def score(request: ScoreRequest) -> ScoreResponse:
    results = [
        Scored(
            score=0.71,
            source=Source.CACHE,
            criteria=CRITERIA,
            reasons=[],
            extracted_from=ExtractedFrom.BLOCK,
            key=KEY,
            profile="0" * 16,
        )
        for _ in request.samples
    ]
    return ScoreResponse(results=list(results), usage=RequestUsage())
