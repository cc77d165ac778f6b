// The Terraform provider of GitHub as Pulumi's provider `github`: resources, configuration and
// schema are those of the published pulumi-github, as far as the platform's program uses them.
//
// https://pkg.go.dev/github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge
package main

import (
	"encoding/json"
	"io"
	"log"

	"github.com/integrations/terraform-provider-github/v6/github"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfgen"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
)

// The version of pulumi-github that this stands for; set by the linker.
var version string

func main() {
	provider := provider()
	quiet := diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never})
	spec, err := tfgen.GenerateSchema(provider, quiet)
	if err != nil {
		log.Fatal(err)
	}
	schema, err := json.Marshal(spec)
	if err != nil {
		log.Fatal(err)
	}
	tfbridge.Main("github", version, provider, schema)
}

func provider() tfbridge.ProviderInfo {
	provider := tfbridge.ProviderInfo{
		P:                       shim.NewProvider(github.NewProvider(version, "")()),
		Name:                    "github",
		Version:                 version,
		GitHubOrg:               "integrations",
		TFProviderModuleVersion: "v6",
		Config: map[string]*tfbridge.SchemaInfo{
			"base_url": {Default: &tfbridge.DefaultInfo{
				EnvVars: []string{"GITHUB_BASE_URL"}, Value: "https://api.github.com/",
			}},
			"token": {
				Default: &tfbridge.DefaultInfo{EnvVars: []string{"GITHUB_TOKEN"}},
				Secret:  tfbridge.True(),
			},
		},
		Resources: map[string]*tfbridge.ResourceInfo{
			"github_actions_environment_secret": {DeleteBeforeReplace: true},
			"github_repository_deploy_key":      {DeleteBeforeReplace: true},
			// At most one, but a list since the first release of pulumi-github.
			"github_repository_environment": {Fields: map[string]*tfbridge.SchemaInfo{
				"reviewers": {MaxItemsOne: tfbridge.False()},
			}},
		},
		EnableZeroDefaultSchemaVersion: true,
		EnableAccurateBridgePreview:    true,
		EnableRawStateDelta:            true,
	}
	provider.MustComputeTokens(
		tokens.SingleModule("github_", "index", tokens.MakeStandard("github")))
	provider.SetAutonaming(255, "-")
	return provider
}
