"""VPCs and their NAT gateways: docs.digitalocean.com/reference/api/reference/vpcs and
docs.digitalocean.com/reference/api/reference/vpc-nat-gateways"""

import ipaddress
import re

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.errors import ApiError, invalid, not_found
from sandbox.digitalocean.models import AccountData, Vpc
from sandbox.digitalocean.operations import Body, Call, Operation
from sandbox.digitalocean.validation import check_region
from sandbox.digitalocean.views import nat_gateway_view, vpc_view
from sandbox.emulator import no_content

_NAME = re.compile(r"[a-zA-Z0-9.-]+")
_PRIVATE = tuple(
    ipaddress.IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)


class VpcUpdate(Body):
    name: str | None = None
    description: str | None = None
    default: bool | None = None


class VpcReplace(VpcUpdate):
    name: str


class VpcCreate(Body):
    name: str
    region: str
    description: str = ""
    ip_range: str | None = None


def _vpc(call: Call) -> Vpc:
    vpc = call.account.data.vpcs.get(call.path["vpc_id"])
    if vpc is None:
        raise not_found()
    return vpc


def _check_text(
    name: str | None, description: str | None, data: AccountData, own_id: str = ""
) -> None:
    if name is not None:
        if not _NAME.fullmatch(name):
            raise invalid("Name may only contain alphanumeric characters, dashes, and periods")
        if any(vpc.name == name and vpc.id != own_id for vpc in data.vpcs.values()):
            raise invalid("A VPC with the same name already exists in your account")
    if description is not None and len(description) > 255:
        raise invalid("Description is too long (maximum is 255 characters)")


def _check_ip_range(text: str, data: AccountData) -> None:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise invalid("IP range must be a network such as 10.10.10.0/24") from None
    if not 16 <= network.prefixlen <= 28:
        raise invalid("IP range must be no smaller than /28 and no larger than /16")
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise invalid("IP range must be private, as defined in RFC1918")
    if any(network.overlaps(ipaddress.IPv4Network(vpc.ip_range)) for vpc in data.vpcs.values()):
        raise invalid("This range/size overlaps with another VPC network in your account")


async def list_vpcs(call: Call) -> Response:
    return call.page("vpcs", [vpc_view(vpc) for vpc in call.account.data.vpcs.values()])


async def create_vpc(call: Call) -> Response:
    body = await call.body(VpcCreate)
    data = call.account.data
    check_region(body.region, call.account)
    _check_text(body.name, body.description, data)
    if body.ip_range is not None:
        _check_ip_range(body.ip_range, data)
    vpc = call.account.add_vpc(body.name, body.region, body.ip_range, body.description)
    return JSONResponse({"vpc": vpc_view(vpc)}, 201)


async def get_vpc(call: Call) -> Response:
    return JSONResponse({"vpc": vpc_view(_vpc(call))})


async def replace_vpc(call: Call) -> Response:
    return _change(call, await call.body(VpcReplace))


async def update_vpc(call: Call) -> Response:
    return _change(call, await call.body(VpcUpdate))


def _change(call: Call, body: VpcUpdate) -> Response:
    vpc = _vpc(call)
    _check_text(body.name, body.description, call.account.data, own_id=vpc.id)
    if vpc.default and body.default is False:
        raise ApiError(403, "Can not unset default VPCs")
    with call.account.changing():
        if body.name is not None:
            vpc.name = body.name
        if body.description is not None:
            vpc.description = body.description
        if body.default and not vpc.default:
            call.account.default_vpc(vpc.region).default = False
            vpc.default = True
    return JSONResponse({"vpc": vpc_view(vpc)})


async def delete_vpc(call: Call) -> Response:
    vpc = _vpc(call)
    if vpc.default:
        raise ApiError(403, "Can not delete default VPCs")
    if _members(vpc, call.account.data):
        raise ApiError(409, "Can not delete VPC with members")
    with call.account.changing() as data:
        del data.vpcs[vpc.id]
    return no_content()


def _members(vpc: Vpc, data: AccountData) -> list[dict[str, str]]:
    return [
        {
            "urn": f"do:{kind}:{resource.id}",
            "name": resource.name,
            "created_at": resource.created_at.isoformat(),
        }
        for kind, resources in (
            ("kubernetes", data.clusters.values()),
            ("loadbalancer", data.load_balancers.values()),
        )
        for resource in resources
        if resource.vpc_uuid == vpc.id
    ]


async def list_members(call: Call) -> Response:
    kind = call.request.query_params.get("resource_type")
    members = _members(_vpc(call), call.account.data)
    return call.page(
        "members",
        [member for member in members if kind is None or member["urn"].split(":")[1] == kind],
    )


async def list_nat_gateways(call: Call) -> Response:
    gateways = call.account.data.nat_gateways.items()
    return call.page("vpc_nat_gateways", [nat_gateway_view(*item) for item in gateways])


OPERATIONS = (
    Operation("GET", "/vpcs", list_vpcs, ("vpc:read",)),
    Operation("POST", "/vpcs", create_vpc, ("vpc:create",)),
    Operation("GET", "/vpcs/{vpc_id}", get_vpc, ("vpc:read",)),
    Operation("PUT", "/vpcs/{vpc_id}", replace_vpc, ("vpc:update",)),
    Operation("PATCH", "/vpcs/{vpc_id}", update_vpc, ("vpc:update",)),
    Operation("DELETE", "/vpcs/{vpc_id}", delete_vpc, ("vpc:delete",)),
    Operation("GET", "/vpcs/{vpc_id}/members", list_members, ("vpc:read",)),
    Operation("GET", "/vpc_nat_gateways", list_nat_gateways, ("nat_gateway:read",)),
)
