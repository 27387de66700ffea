"""Names over HTTP: imported as they are, listed in pages, put to use; and ranks that a worker registers."""

from __future__ import annotations

import requests

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import pipeline_description, session

TAXA = "label,scientificName,taxonRank,order\nmoth,Lepidoptera,order,Lepidoptera\nbee,Apis,genus,Hymenoptera\n"


async def test_names_of_a_project_over_http(services: Services, gateway: RunningGateway, project: str) -> None:
    worker = await token(services, project)
    slug = f"n-{project}"[:60]
    described = pipeline_description(slug)
    # An algorithm of its own: one that others have, too, keeps what they said of it.
    described["algorithms"][1]["key"] = f"binary-{project}"
    labels = described["algorithms"][1]["category_map"]["labels"]
    rows = [{"index": index, "label": label, "taxon_rank": "ORDER"} for index, label in enumerate(labels)]
    described["algorithms"][1]["category_map"]["data"] = [{**rows[0], "gbif_key": 797}, *rows[1:]]
    with session(worker) as http:
        [own] = http.get(f"{gateway.base}/projects/", timeout=60).json()["results"]
        base = f"{gateway.base}/projects/{own['id']}"
        registration = {"processing_service_name": "lab", "pipelines": [described]}
        assert http.post(f"{base}/pipelines/", json=registration, timeout=60).status_code == 201
    known = await services.catalog.pipelines.find(slug)
    assert known is not None
    assert known.algorithms[1].categories[0] == {"taxon_rank": "ORDER", "gbif_key": 797}

    def told(answer: requests.Response, status: int = 200) -> dict[str, object]:
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    with session(await token(services, project, role=Role.SUBMITTER)) as http:
        as_table = {"Content-Type": "text/csv"}
        done = told(http.post(f"{base}/taxa/", data=TAXA, headers=as_table, timeout=60))
        assert (done["count"], done["new"], done["species_list"]) == (2, 2, None)
        page = told(http.get(f"{base}/taxa/", params={"limit": 1, "offset": 1}, timeout=60))
        assert page["count"] == 2 and page["results"][0]["label"] == "moth"
        matches = told(http.get(f"{base}/taxa/unmatched/", params={"pipeline": slug}, timeout=60))
        found = {one["algorithm"]: one["unmatched"] for one in matches["results"]}
        # The worker gave no ranks for the labels of its last algorithm.
        assert found[described["algorithms"][1]["key"]] == []
        again = told(http.post(f"{base}/taxa/", json=[{"label": "fly", "rank": "order"}], timeout=60))
        assert again["new"] == 1
        listed = told(
            http.post(
                f"{base}/species-lists/", params={"name": "here"}, data="Lepidoptera\n", headers=as_table, timeout=60
            )
        )
        assert (listed["species_list"], listed["count"], listed["holds_for"]) == ("here", 1, [])
        used = told(http.post(f"{base}/species-lists/use/", json={"species_list": "here"}, timeout=60))
        assert any(one["kept"] for one in used["results"])
        [one] = told(http.get(f"{base}/species-lists/", timeout=60))["results"]
        assert one["holds_for_project"] is True and one["imported_by"].startswith("submitter")
        bad = told(http.post(f"{base}/taxa/", data="label,rank\nx,y\n", headers=as_table, timeout=60), 400)
        assert bad["detail"].startswith("the file, row 2, column rank: 'y' is not a rank")
        told(http.post(f"{base}/species-lists/use/", json={"species_list": "nowhere"}, timeout=60), 404)
        told(http.get(f"{base}/taxa/unmatched/", params={"pipeline": "nobody"}, timeout=60), 400)
