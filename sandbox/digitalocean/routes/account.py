"""The account: docs.digitalocean.com/reference/api/reference/account"""

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.operations import Call, Operation


async def get_account(call: Call) -> Response:
    data = call.account.data
    return JSONResponse(
        {
            "account": {
                "droplet_limit": call.account.droplet_limit,
                "floating_ip_limit": 5,
                "email": data.email,
                "name": data.name,
                "uuid": data.uuid,
                "email_verified": True,
                "status": "active",
                "status_message": "",
                "team": {"uuid": data.team_uuid, "name": data.name},
            }
        }
    )


OPERATIONS = (Operation("GET", "/account", get_account, ("account:read",)),)
